"""How gunicorn serves either service; the address is given on the command line with `--bind`."""

# Loaded once, before the workers are made: a refusal to start is said once and ends gunicorn.
preload_app = True
worker_class = "gthread"  # `sync` closes the connection after each answer
workers = 2
# Few, for short waits under load. Slow clients can hold every thread: in production a reverse proxy stands in
# front and reads requests whole before it passes them on.
threads = 4
graceful_timeout = 10  # seconds: no request takes one, and a worker that hangs at its end is not waited for

forwarded_allow_ips = ""  # by default whoever connects from loopback may say what scheme was used
header_map = "refuse"  # a header that only looks like another when mapped to WSGI is an attack
control_socket_disable = True  # two services would fight over its path
