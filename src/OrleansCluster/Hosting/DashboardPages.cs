using Orleans.Dashboard;
using OrleansCluster.ApiServer;

namespace OrleansCluster.Hosting;

/// <summary>
/// The Orleans dashboard at `/dashboard` of the API's port, for administrators. Its figures come from grains on the silos, which need it too; its call filter
/// costs every grain call a little, so it is off unless asked for.
/// </summary>
internal sealed class DashboardPages : IProtectedPages
{
    private const string Prefix = "/dashboard";

    private RequestDelegate? _pages;

    public PathString Path => Prefix;

    /// <summary>Settings of the dashboard on silos and on clients.</summary>
    public static void Configure(DashboardOptions options)
    {
        // Log lines may hold what not every administrator of the API should see.
        options.HideTrace = true;
        options.CounterUpdateIntervalMs = 5000;
    }

    public Task HandleAsync(HttpContext context) =>
        _pages is { } pages ? pages(context) : throw new InvalidOperationException("The dashboard's pages were not mapped.");

    /// <summary>Makes the pipeline, once the host is built.</summary>
    public void Map(WebApplication app)
    {
        var branch = ((IApplicationBuilder)app).New();
        branch.UseRouting();
        branch.UseEndpoints(static endpoints => endpoints.MapOrleansDashboard(Prefix));
        branch.Run(static context =>
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        });
        _pages = branch.Build();
    }
}

/// <summary>Registration of <see cref="DashboardPages"/>.</summary>
internal static class DashboardRegistration
{
    /// <summary>Adds the pages to a host whose silo or client has the dashboard.</summary>
    public static void AddDashboardPages(this IServiceCollection services)
    {
        services.AddSingleton<DashboardPages>();
        services.AddSingleton<IProtectedPages>(static provider => provider.GetRequiredService<DashboardPages>());
    }

    /// <summary>Maps them, if they were added.</summary>
    public static void MapDashboard(this WebApplication app) => app.Services.GetService<DashboardPages>()?.Map(app);
}
