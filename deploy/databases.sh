#!/bin/sh
# Create a database and a role for each service; neither can read the other's. The postgres image runs this once.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres \
  --set auth="$AUTH_DATABASE_PASSWORD" --set course="$COURSE_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE auth LOGIN PASSWORD :'auth';
CREATE DATABASE auth OWNER auth;
REVOKE CONNECT ON DATABASE auth FROM PUBLIC;
CREATE ROLE course LOGIN PASSWORD :'course';
CREATE DATABASE course OWNER course;
REVOKE CONNECT ON DATABASE course FROM PUBLIC;
SQL
