"""The table of guests."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of guests."""

    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Guest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                ("thanks", models.CharField(blank=True, max_length=200)),
            ],
        ),
    ]
