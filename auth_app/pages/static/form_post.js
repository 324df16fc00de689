// Submit the form at once. Without JavaScript, users press its button (OAuth 2.0 Form Post Response Mode).
document.forms[0].submit();
