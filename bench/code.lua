-- Sign in to a client again and again in a browser that is signed in: request a code, exchange it, and so on.
-- With BENCH_CODES_ALONE, request codes alone.
local codes = {}
function request()
  local code = table.remove(codes)
  if not code then
    return wrk.format("GET", os.getenv("BENCH_AUTHORIZE"), {Cookie = os.getenv("BENCH_COOKIE")})
  end
  local headers = {["Content-Type"] = "application/x-www-form-urlencoded"}
  return wrk.format("POST", "/token", headers, os.getenv("BENCH_FORM") .. "&code=" .. code)
end
function response(status, headers, body)
  local code = (headers["Location"] or ""):match("[?&]code=([^&]+)")
  if code and not os.getenv("BENCH_CODES_ALONE") then table.insert(codes, code) end
end
