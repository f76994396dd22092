"""A model of one Redis in memory: its data, scripts, connections and replicas, by a simulated clock."""
