// A single-page application whose users sign in at auth_app and read their courses from course_app.
import { CLIENT_ID, COURSES, ISSUER } from "./settings.js";

const here = location.origin + location.pathname;
// Tokens are in sessionStorage: only for this tab, until it is closed.
const users = new oidc.UserManager({
  authority: ISSUER,
  client_id: CLIENT_ID,
  redirect_uri: here,
  post_logout_redirect_uri: here,
  scope: "openid profile courses:read",
  loadUserInfo: true,
  automaticSilentRenew: false, // when the token expires, the user signs in again, without a password
});

async function findUser() {
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("code") || parameters.has("error")) {
    history.replaceState(null, "", here); // the code works only once: a reload must not send it again
    return await users.signinCallback(`${here}?${parameters}`);
  }
  const user = await users.getUser();
  return user?.expired ? null : user;
}

async function showCourses() {
  const user = await findUser();
  if (!user) return show("");
  const headers = { Authorization: `Bearer ${user.access_token}` };
  const response = await fetch(`${COURSES}/courses`, { headers });
  if (response.status === 401) { // the user has signed out elsewhere
    await users.removeUser();
    return show("Your sign-in has ended.");
  }
  if (!response.ok) return show(`The courses cannot be shown: ${response.status}`);
  const { courses } = await response.json();
  show(`Signed in as ${user.profile.name ?? user.profile.preferred_username}.`, courses);
}

function show(text, courses) {
  document.querySelector("#status").textContent = text;
  document.querySelector("#courses").replaceChildren(...(courses ?? []).map(({ title }) => {
    const item = document.createElement("li");
    item.textContent = title;
    return item;
  }));
  document.querySelector("#sign-in").hidden = Boolean(courses);
  document.querySelector("#sign-out").hidden = !courses;
}

document.querySelector("#sign-in").onclick = () => users.signinRedirect();
document.querySelector("#sign-out").onclick = () => users.signoutRedirect();
showCourses().catch((error) => show(`You could not be signed in: ${error.message}`));
