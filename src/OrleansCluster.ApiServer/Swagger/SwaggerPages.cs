using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Swagger UI at `/swagger`. Open to everybody, as it shows names and shapes only; what is tried out there carries the user's own token. Its
/// pipeline is built at the first visit.
/// </summary>
internal sealed class SwaggerPages
{
    private readonly Lazy<RequestDelegate> _pages;

    public SwaggerPages(IApplicationBuilder app) => _pages = new Lazy<RequestDelegate>(() => Build(app.New()));

    /// <summary>True for a path below `/swagger`.</summary>
    public static bool Serves(PathString path) => path.StartsWithSegments("/swagger", StringComparison.Ordinal);

    /// <summary>Answers one.</summary>
    public Task HandleAsync(HttpContext context) => _pages.Value(context);

    private static RequestDelegate Build(IApplicationBuilder pages)
    {
        pages.UseSwagger();
        pages.UseSwaggerUI(options =>
        {
            options.RoutePrefix = "swagger";
            options.DocumentTitle = "OrleansCluster API";
            options.SwaggerEndpoint($"/swagger/{ApiDescription.DocumentName}/swagger.json", "Kubernetes API");
            options.EnablePersistAuthorization();
            options.EnableFilter();
            // Resources first, then their operations: what is open and off the screen is not drawn, so a long open page cannot be searched.
            options.DocExpansion(Swashbuckle.AspNetCore.SwaggerUI.DocExpansion.None);
            options.DefaultModelsExpandDepth(1);
        });
        pages.Run(async context => await Replies.WriteErrorAsync(context, Api.StatusError.NoSuchPath()));
        return pages.Build();
    }
}
