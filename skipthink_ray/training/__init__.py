"""Training, shared by base, cwt, stt and icot, on torch and DeepSpeed. Only launch.py imports Ray."""
