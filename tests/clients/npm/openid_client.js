// An application that signs its users in with openid-client. Answers `/` with what it knows of its user.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import * as client from "openid-client";

const { AUTH_METHOD, CLIENT_ID, CLIENT_SECRET, ISSUER, KEY_FILE, URL: here } = process.env;

async function importKey() {
  const jwk = JSON.parse(await readFile(KEY_FILE, "utf8"));
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  return { key: await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["sign"]), kid: jwk.kid };
}

const methods = {
  none: () => client.None(),
  client_secret_basic: () => client.ClientSecretBasic(CLIENT_SECRET),
  client_secret_post: () => client.ClientSecretPost(CLIENT_SECRET),
  private_key_jwt: async () => client.PrivateKeyJwt(await importKey()),
};
const options = { execute: [client.allowInsecureRequests] }; // the issuer is on this machine
const authentication = await methods[AUTH_METHOD]();
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, {}, authentication, options);

let begun = {};
let user = null;

const pages = {
  "/": async () => (user ? { json: user } : { status: 401, json: {} }),

  "/sign-in": async () => {
    begun = {
      pkceCodeVerifier: client.randomPKCECodeVerifier(),
      expectedState: client.randomState(),
      expectedNonce: client.randomNonce(),
      idTokenExpected: true,
    };
    const parameters = {
      redirect_uri: `${here}/callback`,
      scope: "openid profile roles courses:read offline_access",
      code_challenge: await client.calculatePKCECodeChallenge(begun.pkceCodeVerifier),
      code_challenge_method: "S256",
      state: begun.expectedState,
      nonce: begun.expectedNonce,
    };
    return { to: client.buildAuthorizationUrl(config, parameters) };
  },

  "/callback": async (url) => {
    const tokens = await client.authorizationCodeGrant(config, url, begun);
    const { sub, sid } = tokens.claims();
    const info = await client.fetchUserInfo(config, tokens.access_token, sub);
    const next = await client.refreshTokenGrant(config, tokens.refresh_token);
    // A public client may not introspect.
    const seen = AUTH_METHOD === "none" ? {} : await client.tokenIntrospection(config, next.access_token);
    user = { ...info, sid, id_token: tokens.id_token, access_token: next.access_token, active: seen.active };
    return { to: here };
  },

  "/sign-out": async () => {
    const parameters = { id_token_hint: user.id_token, post_logout_redirect_uri: `${here}/` };
    user = null;
    return { to: client.buildEndSessionUrl(config, parameters) };
  },
};

createServer(async (request, response) => {
  const url = new URL(request.url, here);
  const page = pages[url.pathname] ?? (async () => ({ status: 404, json: {} }));
  const { to, status, json } = await page(url).catch((error) => {
    console.error(error);
    return { status: 500, json: { error: String(error.cause ?? error) } };
  });
  if (to) response.writeHead(303, { Location: String(to) }).end();
  else response.writeHead(status ?? 200, { "Content-Type": "application/json" }).end(JSON.stringify(json));
}).listen(new URL(here).port, "127.0.0.1");
