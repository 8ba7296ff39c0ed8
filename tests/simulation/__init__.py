"""A second, naive queue and a simulated world, in which the real one must agree with it whatever happens."""
