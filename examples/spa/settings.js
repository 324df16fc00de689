// The servers and the client ID. The Content-Security-Policy in index.html has both servers too.
export const ISSUER = "http://127.0.0.1:8081";
export const COURSES = "http://127.0.0.1:8082";
export const CLIENT_ID = "my-spa";
