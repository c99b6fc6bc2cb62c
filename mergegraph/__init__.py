"""mergegraph: a declarative, DAG-based merge engine."""
