#!/bin/sh
# Create a database and a role for each service; neither can read the other's. The postgres image runs this once.
# psql (14 or later) reads the passwords from the environment: other users of the host can see its arguments.
set -eu
: "${AUTH_DATABASE_PASSWORD:?}" "${COURSE_DATABASE_PASSWORD:?}"
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres <<'SQL'
SET log_statement = 'none'; -- the server's log must not contain the passwords, not even of a statement that fails
SET log_min_error_statement = 'panic';
\getenv auth AUTH_DATABASE_PASSWORD
\getenv course COURSE_DATABASE_PASSWORD
CREATE ROLE auth LOGIN PASSWORD :'auth';
CREATE DATABASE auth OWNER auth;
REVOKE CONNECT ON DATABASE auth FROM PUBLIC;
CREATE ROLE course LOGIN PASSWORD :'course';
CREATE DATABASE course OWNER course;
REVOKE CONNECT ON DATABASE course FROM PUBLIC;
SQL
