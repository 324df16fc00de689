// Hand the answer to a sign-in to the docs page that opened this window. Swagger UI's own page for this goes on with
// a wrong state, and does not know RFC 9207.
const asked = window.opener?.swaggerUIRedirectOauth2;

function handOver({ auth, state, redirectUrl, callback, errCb }) {
  const answer = new URLSearchParams(location.search);
  const fail = (message) => errCb({ authId: auth.name, source: "auth", level: "error", message });
  if (answer.get("state") !== state || answer.get("iss") !== document.body.dataset.issuer) {
    fail("This is not the answer to this sign-in.");
  } else if (answer.has("code")) {
    callback({ auth: { ...auth, code: answer.get("code") }, redirectUrl });
  } else {
    fail(answer.get("error_description") ?? answer.get("error"));
  }
}

if (asked) {
  delete window.opener.swaggerUIRedirectOauth2; // one answer is enough
  handOver(asked);
  window.close();
}
