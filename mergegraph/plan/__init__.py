"""From a resolved graph to a plan: expressions, simplification, layout, memory. Pure, and without torch."""
