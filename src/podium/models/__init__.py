"""What tune and train stand on: architectures, freezing, the engine, checkpoints, studies."""
