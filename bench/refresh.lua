-- Refresh sessions in turn: each response contains the refresh token for the next request.
local pool = {}
for token in io.lines(os.getenv("BENCH_REFRESH_TOKENS")) do table.insert(pool, token) end
local form = (os.getenv("BENCH_FORM") or "grant_type=refresh_token") .. "&refresh_token="
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
function request()
  return wrk.format(nil, nil, nil, form .. table.remove(pool, 1))
end
function response(status, headers, body)
  local token = body:match('"refresh_token": ?"([^"]+)"')
  if token then table.insert(pool, token) end
end
