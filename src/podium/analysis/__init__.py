"""What evaluate and compare compute: metrics, statistics, the leaderboard."""
