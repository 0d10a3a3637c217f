-- An owner of each schema, who may create it, and the service's own role, which owns nothing.
\set customers_owner `cat /run/secrets/customers_owner`
\set customers_app `cat /run/secrets/customers_app`
\set favorites_owner `cat /run/secrets/favorites_owner`
\set favorites_app `cat /run/secrets/favorites_app`
CREATE ROLE customers_owner LOGIN PASSWORD :'customers_owner';
CREATE ROLE customers_app LOGIN PASSWORD :'customers_app';
CREATE ROLE favorites_owner LOGIN PASSWORD :'favorites_owner';
CREATE ROLE favorites_app LOGIN PASSWORD :'favorites_app';
REVOKE CONNECT, TEMPORARY ON DATABASE vaptekecustomers FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE vaptekecustomers TO customers_owner, favorites_owner;
GRANT CONNECT, TEMPORARY ON DATABASE vaptekecustomers TO customers_app, favorites_app;
