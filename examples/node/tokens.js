// Verify access tokens (RFC 9068) with the issuer's key set, and check in its status lists whether they were revoked.

import { getListFromStatusListJWT } from "@sd-jwt/jwt-status-list";
import { createRemoteJWKSet, jwtVerify } from "jose";

// The codes of jose's errors that mean the token is bad. All others, such as a key set that cannot be fetched, say
// nothing about the token.
const REFUSALS = new Set([
  "ERR_JOSE_ALG_NOT_ALLOWED",
  "ERR_JOSE_NOT_SUPPORTED",
  "ERR_JWKS_MULTIPLE_MATCHING_KEYS",
  "ERR_JWKS_NO_MATCHING_KEY",
  "ERR_JWS_INVALID",
  "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "ERR_JWT_EXPIRED",
  "ERR_JWT_INVALID",
]);

export class RefusedToken extends Error {}

export class Verifier {
  #issuer;
  #audience;
  #keys;
  #lists = new Map(); // by URL: { list, fetchAfter, expiresAt }

  constructor(issuer, audience) {
    this.#issuer = issuer;
    this.#audience = audience;
    this.#keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  }

  // Returns the claims. Throws RefusedToken (respond with 401), or another error if it cannot be determined whether the
  // token is good (503).
  async verify(token) {
    const claims = await this.#verifyJwt(token);
    if (claims.status && (await this.#isRevoked(claims.status.status_list))) throw new RefusedToken("revoked");
    return claims;
  }

  async #verifyJwt(token) {
    if (token.length > 4096 || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) throw new RefusedToken("form");
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        algorithms: ["RS256"],
        typ: "at+jwt",
        issuer: this.#issuer,
        audience: this.#audience,
        requiredClaims: ["exp"],
        maxTokenAge: "1h",
        clockTolerance: 10,
      });
      const { sub, client_id, jti, scope = "" } = payload;
      const areStrings = [sub, client_id, jti].every((value) => value && typeof value === "string");
      if (!areStrings || typeof scope !== "string") throw new RefusedToken("claims");
      return payload;
    } catch (error) {
      throw REFUSALS.has(error.code) ? new RefusedToken(error.code) : error;
    }
  }

  async #isRevoked({ idx, uri } = {}) {
    // The URL comes from a token that the issuer has signed, but is still checked before it is fetched.
    if (!uri?.startsWith(`${this.#issuer}/`)) throw new RefusedToken("status");
    let known = this.#lists.get(uri);
    if (!known || known.fetchAfter < Date.now()) {
      try {
        known = await this.#fetchList(uri);
        this.#lists.set(uri, known);
      } catch (error) {
        if (!known || known.expiresAt < Date.now()) throw error;
      }
    }
    return known.list.getStatus(idx) !== 0;
  }

  async #fetchList(uri) {
    const response = await fetch(uri, { redirect: "error", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`${uri} responded with status ${response.status}`);
    const jwt = await response.text();
    const { payload } = await jwtVerify(jwt, this.#keys, {
      algorithms: ["RS256"],
      typ: "statuslist+jwt",
      subject: uri,
      requiredClaims: ["iat", "exp"],
    });
    return {
      list: getListFromStatusListJWT(jwt),
      fetchAfter: Date.now() + (payload.ttl ?? 30) * 1000,
      expiresAt: payload.exp * 1000,
    };
  }
}
