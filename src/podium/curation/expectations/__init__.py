"""What a prepared dataset must satisfy: expectations, each one decorated function, and the engine that judges them."""
