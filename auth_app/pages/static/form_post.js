// Send the form at once; without JavaScript people press its button (OAuth 2.0 Form Post Response Mode).
document.forms[0].submit();
