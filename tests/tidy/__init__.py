"""Rules about the repository itself: layers, forbidden calls, the mirror of tests, complete documentation."""
