using System.Text;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Operations;

namespace OrleansCluster.ApiServer;

/// <summary>The health endpoints over HTTP, the same on every role.</summary>
public static class HealthHandler
{
    /// <summary>Answers a path for which <see cref="HealthChecks.IsHealthPath"/> is true.</summary>
    public static async ValueTask HandleAsync(HttpContext context, HealthChecks checks)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(checks);
        var query = context.Request.QueryString.HasValue ? context.Request.Query : QueryCollection.Empty;
        var answer = await checks.AnswerAsync(
            context.Request.Path.Value ?? "", query.ContainsKey("verbose"), (string?[])[.. query["exclude"]], context.RequestAborted);
        context.Response.Headers.XContentTypeOptions = "nosniff";
        context.Response.Headers.CacheControl = "no-cache, private";
        await Replies.WriteAsync(context, answer.Code, Encoding.UTF8.GetBytes(answer.Text), contentType: "text/plain; charset=utf-8");
    }
}
