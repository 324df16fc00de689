// Where everything is. index.html names both servers too, in its Content-Security-Policy.
export const ISSUER = "http://127.0.0.1:8081";
export const COURSES = "http://127.0.0.1:8082";
export const CLIENT_ID = "my-spa";
