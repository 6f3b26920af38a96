"""What a prepared dataset must satisfy: one module a concern (= a suite of Great Expectations), and their engine."""
