"""`vapteke demo`: imports all customers twice as a frontend would, and checks the results."""
