"""Run Apache with Debian's mod_auth_openidc in front of a page that only signed-in users see."""

import secrets
import shutil
from pathlib import Path

import pytest

APACHE = shutil.which("apache2", path="/usr/sbin:/usr/bin")
MODULES = Path("/usr/lib/apache2/modules")

CONFIGURATION = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/error.log
DocumentRoot {folder}/htdocs
Mutex file:{folder} default
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule env_module {modules}/mod_env.so
LoadModule include_module {modules}/mod_include.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so
TypesConfig /etc/mime.types
AddType text/html .shtml
AddOutputFilter INCLUDES .shtml
DirectoryIndex index.shtml

OIDCProviderMetadataURL ${{ISSUER}}/.well-known/openid-configuration
OIDCClientID ${{CLIENT_ID}}
OIDCClientSecret ${{CLIENT_SECRET}}
OIDCRedirectURI ${{URL}}/callback
OIDCDefaultLoggedOutURL ${{URL}}/public/
OIDCCryptoPassphrase {passphrase}
OIDCScope "openid profile roles courses:read"
OIDCPKCEMethod S256
OIDCResponseType code
OIDCPassIDTokenAs claims
OIDCSSLValidateServer Off
<Directory {folder}/htdocs>
  AuthType openid-connect
  Require valid-user
  Options +Includes
</Directory>
<Directory {folder}/htdocs/public>
  AuthType None
  Require all granted
</Directory>
<Location /private>
  OIDCUnAuthAction 401
</Location>
"""
PAGE = (
    '{"sub": "<!--#echo var="OIDC_CLAIM_sub" -->", '
    '"preferred_username": "<!--#echo var="OIDC_CLAIM_preferred_username" -->", '
    '"roles": "<!--#echo var="OIDC_CLAIM_roles" -->", '
    '"access_token": "<!--#echo var="OIDC_access_token" -->"}'
)


def prepare_apache(folder: Path, url: str) -> list[str]:
    """Write a configuration and its pages, and return the command that serves them.

    Apache reads the rest from its environment: ISSUER, URL, CLIENT_ID and CLIENT_SECRET.
    """
    if APACHE is None or not (MODULES / "mod_auth_openidc.so").exists():
        pytest.skip("Apache or mod_auth_openidc is not installed")
    for name, text in {"": PAGE, "private": PAGE, "public": "signed out"}.items():
        (folder / "htdocs" / name).mkdir(parents=True)
        (folder / "htdocs" / name / "index.shtml").write_text(text)
    configuration = CONFIGURATION.format(
        folder=folder,
        port=url.rpartition(":")[2],
        modules=MODULES,
        passphrase=secrets.token_hex(),
    )
    (folder / "apache.conf").write_text(configuration)
    return [APACHE, "-f", str(folder / "apache.conf"), "-D", "FOREGROUND"]
