// A Node service that accepts access tokens.

import { createServer } from "node:http";
import { RefusedToken, Verifier } from "./tokens.js";

const { OAUTH_ISSUER, OAUTH_RESOURCE, PORT = "8083" } = process.env;
const verifier = new Verifier(OAUTH_ISSUER, OAUTH_RESOURCE);

class HttpError extends Error {
  constructor(status, code, headers = {}) {
    super(code);
    Object.assign(this, { status, headers });
  }
}

async function authenticate(request, scope) {
  const [, token] = /^Bearer +(.+)$/i.exec(request.headers.authorization ?? "") ?? [];
  if (!token) throw new HttpError(401, "unauthorized", { "WWW-Authenticate": "Bearer" });
  let claims;
  try {
    claims = await verifier.verify(token);
  } catch (error) {
    if (error instanceof RefusedToken)
      throw new HttpError(401, "invalid_token", { "WWW-Authenticate": 'Bearer error="invalid_token"' });
    console.error("cannot verify a token:", error.message);
    throw new HttpError(503, "temporarily_unavailable", { "Retry-After": "1" });
  }
  if (!claims.scope?.split(" ").includes(scope)) {
    const challenge = `Bearer error="insufficient_scope", scope="${scope}"`;
    throw new HttpError(403, "insufficient_scope", { "WWW-Authenticate": challenge });
  }
  return claims;
}

async function listReports(request) {
  const claims = await authenticate(request, "courses:read");
  return { reports: [], reader: claims.sub };
}

const routes = { "GET /reports": listReports };

async function handle(request) {
  const view = routes[`${request.method} ${request.url.split("?")[0]}`];
  if (!view) throw new HttpError(404, "not_found");
  return view(request);
}

createServer((request, response) => {
  const send = (status, body, headers = {}) =>
    response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
  handle(request).then(
    (body) => send(200, body),
    (error) => send(error.status ?? 500, { error: error.status ? error.message : "internal" }, error.headers),
  );
}).listen(Number(PORT), "127.0.0.1");
