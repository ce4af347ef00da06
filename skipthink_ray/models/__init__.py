"""Students on torch and transformers, without ray: build, score, verify, decode."""
