"""A client's session: login, requests and their answers, and the faults that interrupt them."""
