// Start Swagger UI on the page that shared/docs.py serves.
const page = document.getElementById("swagger-ui");
const { document: url, clientId, scopes, redirect } = page.dataset;

// Swagger UI fills the fields of a form with samples such as "string", and sends fields that are empty. Here a field
// without an example or a default in openapi.yml starts empty, and an empty field is not sent.
const FORM = "application/x-www-form-urlencoded";
const isPrefilled = (schema) => schema.get("examples") !== undefined || schema.get("default") !== undefined;
const sampleField = (fn) => (schema, ...rest) => {
  if (isPrefilled(schema)) return fn.getSampleSchema(schema, ...rest);
  return schema.get("type") === "array" ? [] : "";
};
const sparseForms = ({ React }) => ({
  components: { ParameterIncludeEmpty: () => null }, // the checkbox "Send empty value"
  wrapComponents: {
    RequestBody: (Original) => (props) => {
      const { fn, requestBody } = props;
      const contentType = props.contentType || requestBody.get("content").keySeq().first();
      const own = contentType === FORM ? { ...fn, getSampleSchema: sampleField(fn) } : fn;
      return React.createElement(Original, { ...props, fn: own });
    },
  },
});

const ui = SwaggerUIBundle({
  domNode: page,
  url,
  plugins: [sparseForms],
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
