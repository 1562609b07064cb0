"""What several tests use: small inputs, independent stand-ins, programs for simulated devices."""
