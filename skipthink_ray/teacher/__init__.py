"""Teachers that write rationales: requests, servers and their odd replies, local models, the ledger."""
