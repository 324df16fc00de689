// oidc-provider: client_credentials and refresh_token, refresh tokens kept in SQLite or in memory.
//
// In its best form: JWT access tokens (RFC 9068), which are not stored; every refresh rotates the refresh token.
// A user would get a refresh token by signing in; here POST /sessions makes one with the provider's own models.
import { createPrivateKey } from "node:crypto";

import { Provider } from "oidc-provider";

import { SqliteAdapter } from "./oidc_sqlite.mjs";

const [port, storage] = process.argv.slice(2);
const { BENCH_PRIVATE_KEY, BENCH_CLIENT_ID, BENCH_CLIENT_SECRET, ISSUER, RESOURCE } = process.env;
const scope = "courses:read";

const provider = new Provider(ISSUER, {
  ...(storage === "sqlite" && { adapter: SqliteAdapter }),
  clients: [
    {
      client_id: BENCH_CLIENT_ID,
      client_secret: BENCH_CLIENT_SECRET,
      grant_types: ["client_credentials", "refresh_token", "authorization_code"],
      redirect_uris: ["https://client.example/callback"],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  jwks: { keys: [{ ...createPrivateKey(BENCH_PRIVATE_KEY).export({ format: "jwk" }), use: "sig", alg: "RS256" }] },
  cookies: { keys: ["not used"] },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  scopes: ["openid", "offline_access"],
  ttl: { AccessToken: 900, ClientCredentials: 900, Grant: 86400, RefreshToken: 86400 },
  rotateRefreshToken: true,
  routes: { token: "/token" },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope,
        audience: RESOURCE,
        accessTokenTTL: 900,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});

async function createSession() {
  const client = await provider.Client.find(BENCH_CLIENT_ID);
  const grant = new provider.Grant({ accountId: "student1", clientId: BENCH_CLIENT_ID });
  grant.addResourceScope(RESOURCE, scope);
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId: "student1", client, grantId, scope, resource: RESOURCE, gty: "authorization_code",
  });
  return token.save();
}

provider.use(async (context, next) => {
  if (context.path !== "/sessions") return next();
  context.body = { refresh_token: await createSession() };
});

provider.listen(Number(port), "127.0.0.1");
