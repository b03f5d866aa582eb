using System.Collections;
using Microsoft.Extensions.Logging.Console;
using OrleansCluster.Api;
using OrleansCluster.ApiServer;

namespace OrleansCluster.Hosting;

/// <summary>What every role's host has in common: log lines, clock, randomness, certificates, the resources, and how it ends.</summary>
internal static class HostSetup
{
    /// <summary>SIGTERM to exit, at most; what is not done by then is done at the next start.</summary>
    internal static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(4.5);

    /// <summary>Adds it, and opens the cluster's certificates, which are made if this is the first role to start.</summary>
    /// <param name="builder">The host.</param>
    /// <param name="dataDirectory">Folder that holds `pki/`.</param>
    /// <param name="level">Least level of this project's log lines.</param>
    /// <param name="time">The clock.</param>
    public static ClusterPki AddBasics(this IHostApplicationBuilder builder, string dataDirectory, LogLevel level, TimeProvider time)
    {
        Directory.CreateDirectory(dataDirectory);
        var pki = ClusterPki.Open(Path.Combine(dataDirectory, "pki"), time);
        ConfigureLogging(builder.Logging, level);
        builder.Services.Configure<HostOptions>(host =>
        {
            host.ShutdownTimeout = ShutdownTimeout;
            host.ServicesStopConcurrently = false; // What calls grains ends before what reaches them.
        });
        builder.Services.AddSingleton(time);
        builder.Services.AddSingleton(Random.Shared);
        builder.Services.AddSingleton(pki);
        builder.Services.AddSingleton(new ResourceRegistry(BuiltInResources.All));
        return pki;
    }

    /// <summary>A builder for roles without a web server of their own.</summary>
    public static HostApplicationBuilder CreateBuilder()
    {
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "orleanscluster", DisableDefaults = true });
        // OpenTelemetry reads its own variables from the host's configuration, which is empty without defaults.
        builder.Configuration.AddInMemoryCollection(Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .Where(static variable => ((string)variable.Key).StartsWith("OTEL_", StringComparison.Ordinal))
            .Select(static variable => KeyValuePair.Create((string)variable.Key, (string?)variable.Value)));
        return builder;
    }

    /// <summary>A builder for roles that serve the API.</summary>
    public static WebApplicationBuilder CreateWebBuilder() => WebApplication.CreateSlimBuilder(new WebApplicationOptions
    {
        ApplicationName = "orleanscluster",
        Args = [],
        // Not the folder it happens to be started in: the host watches its content root with everything below it for a changed
        // appsettings.json, and below that folder lies, more often than not, the store's own file, which changes with every commit.
        ContentRootPath = AppContext.BaseDirectory,
    });

    private static void ConfigureLogging(ILoggingBuilder logging, LogLevel level)
    {
        logging.ClearProviders();
        logging.AddConsoleFormatter<LineFormatter, ConsoleFormatterOptions>();
        logging.AddConsole(console => console.FormatterName = LineFormatter.FormatterName);
        logging.SetMinimumLevel(LogLevel.Warning);
        logging.AddFilter("OrleansCluster", level);
        // The silo's remarks about the garbage collector are answered in docs/decisions/0009.
        logging.AddFilter("Orleans.Runtime.Silo", LogLevel.Error);
        logging.AddFilter("Orleans.Runtime.Watchdog", LogLevel.Error);
        // Retries inside Orleans while a silo is starting; what matters is logged by the callers.
        logging.AddFilter("Polly", LogLevel.Error);
    }
}
