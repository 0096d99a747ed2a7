"""MuJoCo cell behind the topics of a real one, its tasks, and a scripted operator."""
