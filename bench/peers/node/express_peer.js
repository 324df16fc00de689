// Express with express-oauth2-jwt-bearer: a route without a database.
import {readFileSync} from "node:fs";
import express from "express";
import {auth, requiredScopes} from "express-oauth2-jwt-bearer";

const {ISSUER, RESOURCE} = process.env;
const answer = JSON.parse(readFileSync("answer.json", "utf8"));
const verify = auth({
  issuer: ISSUER,
  jwksUri: `${ISSUER}/.well-known/jwks.json`,
  audience: RESOURCE,
  tokenSigningAlg: "RS256",
});

const app = express();
app.get("/memory", verify, requiredScopes("courses:read"), (_request, response) => response.json(answer));
app.listen(Number(process.argv[2]), "127.0.0.1");
