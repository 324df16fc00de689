// Pass the authorization response to the docs page, which opened this window. Swagger UI's own page for this
// continues even if the state is wrong, and does not check the issuer (RFC 9207).
const request = window.opener?.swaggerUIRedirectOauth2;

function passOn({ auth, state, redirectUrl, callback, errCb }) {
  const response = new URLSearchParams(location.search);
  const fail = (message) => errCb({ authId: auth.name, source: "auth", level: "error", message });
  if (response.get("state") !== state || response.get("iss") !== document.body.dataset.issuer) {
    fail("This response does not belong to this sign-in.");
  } else if (response.has("code")) {
    callback({ auth: { ...auth, code: response.get("code") }, redirectUrl });
  } else {
    fail(response.get("error_description") ?? response.get("error"));
  }
}

if (request) {
  delete window.opener.swaggerUIRedirectOauth2; // accept only one response
  passOn(request);
  window.close();
}
