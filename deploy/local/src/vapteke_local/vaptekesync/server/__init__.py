"""The running server: its ports, its rows from outside, and the control port that changes them."""
