// Start Swagger UI on the page that shared/docs.py serves.
const page = document.getElementById("swagger-ui");
const { document: url, clientId, scopes, redirect } = page.dataset;

const ui = SwaggerUIBundle({
  domNode: page,
  url,
  tryItOutEnabled: true,
  syntaxHighlight: { activated: true },
  oauth2RedirectUrl: redirect && new URL(redirect, location).href,
  requestInterceptor: (request) => {
    // Swagger UI sends this header to the token endpoint, which would have to allow it in CORS for no benefit.
    delete request.headers["X-Requested-With"];
    return request;
  },
});
if (clientId) ui.initOAuth({ clientId, scopes, usePkceWithAuthorizationCodeGrant: true });
