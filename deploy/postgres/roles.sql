-- Once, by a superuser, in the database that is to be ours: two roles for each service, the owner of its schema and the one that works.
-- The passwords are files: psql -v secrets=FOLDER -d DATABASE -f roles.sql; in a container they lie in /run/secrets.
\set ON_ERROR_STOP on
\if :{?secrets} \else \set secrets /run/secrets \endif
\cd :secrets
\set customers_owner `cat customers_owner_password`
\set customers_app `cat customers_app_password`
\set favorites_owner `cat favorites_owner_password`
\set favorites_app `cat favorites_app_password`

CREATE ROLE customers_owner LOGIN PASSWORD :'customers_owner';
CREATE ROLE customers_app LOGIN PASSWORD :'customers_app';
CREATE ROLE favorites_owner LOGIN PASSWORD :'favorites_owner';
CREATE ROLE favorites_app LOGIN PASSWORD :'favorites_app';

REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE :"DBNAME" TO customers_owner, favorites_owner;
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO customers_app, favorites_app;
