"""Training, shared by base, cwt and stt, on torch and DeepSpeed. Only launch.py imports Ray."""
