"""Skip-Thinking on Ray: chunk-wise training, then skip-thinking training, of small reasoning students."""

__version__ = "0.1.0"
