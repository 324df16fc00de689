// An application that signs its users in with @auth/core, as Auth.js does. Answers `/` with what it knows of its user.
import { createServer } from "node:http";
import { Auth } from "@auth/core";

const { CLIENT_ID, CLIENT_SECRET, ISSUER, URL: here } = process.env;

const config = {
  basePath: "/auth",
  secret: "no more than the secret of a test",
  trustHost: true,
  providers: [{
    id: "pair",
    name: "Sign-in service",
    type: "oidc",
    issuer: ISSUER,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    authorization: { params: { scope: "openid profile roles courses:read" } },
    idToken: false, // the claims of a scope are at /userinfo, and not in the ID token
    checks: ["pkce", "state", "nonce"],
    profile: ({ sub, ...claims }) => ({ id: sub, ...claims }),
  }],
  callbacks: {
    // Keep all that the provider has told, in the session of this application.
    jwt: ({ token, account, profile }) =>
      account ? { ...token, known: { ...profile, access_token: account.access_token } } : token,
    session: ({ session, token }) => ({ ...session, known: token.known }),
  },
};

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const url = new URL(request.url, here);
  const path = url.pathname === "/" ? "/auth/session" : url.pathname;
  const { method, headers } = request;
  const body = chunks.length ? Buffer.concat(chunks) : undefined;
  const answer = await Auth(new Request(new URL(path + url.search, here), { method, headers, body }), config);
  for (const [name, value] of answer.headers) if (name !== "set-cookie") response.setHeader(name, value);
  response.setHeader("Set-Cookie", answer.headers.getSetCookie());
  const text = await answer.text();
  if (url.pathname !== "/") return response.writeHead(answer.status).end(text);
  const { known } = JSON.parse(text) ?? {};
  response.writeHead(known ? 200 : 401).end(JSON.stringify(known ?? {}));
}).listen(new URL(here).port, "127.0.0.1");
