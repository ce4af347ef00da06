"""Training shared by base, cwt and stt: torch and DeepSpeed; only launch.py knows Ray."""
