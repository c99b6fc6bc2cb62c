"""The terminal interface: widgets over the engine's public verbs. The engine never imports it."""
