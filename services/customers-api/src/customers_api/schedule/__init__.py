"""The schedule of imports."""
