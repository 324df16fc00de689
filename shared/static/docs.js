// Start Swagger UI on the page that shared/docs.py serves.
const page = document.getElementById("swagger-ui");

SwaggerUIBundle({
  domNode: page,
  url: page.dataset.document,
  tryItOutEnabled: true,
  syntaxHighlight: { activated: true },
});
