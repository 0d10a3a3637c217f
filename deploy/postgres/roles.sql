-- Creates two roles for each service: the owner of its schema, and the one that the service uses. Run it as a superuser in our database.
-- Safe to repeat, also after an upgrade. The passwords are files: psql -v secrets=FOLDER -d DATABASE -f roles.sql; in a container, FOLDER is /run/secrets.
\set ON_ERROR_STOP on
\if :{?secrets} \else \set secrets /run/secrets \endif
\cd :secrets
\set customers_owner `cat customers_owner_password`
\set customers_app `cat customers_app_password`
\set favorites_owner `cat favorites_owner_password`
\set favorites_app `cat favorites_app_password`
SELECT current_setting('is_superuser')::boolean AS is_superuser \gset

\if :is_superuser
-- so that the server does not log the passwords below
SET log_statement = none;
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
\endif

SELECT format('CREATE ROLE %I', role) FROM unnest(ARRAY['customers_owner', 'customers_app', 'favorites_owner', 'favorites_app']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE customers_owner LOGIN PASSWORD :'customers_owner';
ALTER ROLE customers_app LOGIN PASSWORD :'customers_app';
ALTER ROLE favorites_owner LOGIN PASSWORD :'favorites_owner';
ALTER ROLE favorites_app LOGIN PASSWORD :'favorites_app';

REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE :"DBNAME" TO customers_owner, favorites_owner;
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO customers_app, favorites_app;

-- Statements of these roles hold personal data, so the server must not log them: neither parameters, nor the row of a failed
-- statement (DETAIL and CONTEXT, which `terse` omits), nor the plans of auto_explain, which hold parameters as constants.
\if :is_superuser
SELECT format('ALTER ROLE %I SET %s', role, setting)
FROM unnest(ARRAY['customers_owner', 'customers_app', 'favorites_owner', 'favorites_app']) AS role,
    unnest(ARRAY[
        'log_parameter_max_length = 0', 'log_parameter_max_length_on_error = 0', 'log_min_error_statement = panic', 'log_error_verbosity = terse',
        'auto_explain.log_min_duration = -1'
    ]) AS setting \gexec
\else
\warn 'Not a superuser: set log_parameter_max_length=0, log_parameter_max_length_on_error=0, log_min_error_statement=panic, log_error_verbosity=terse and auto_explain.log_min_duration=-1 for the server.'
\endif
