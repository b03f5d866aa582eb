using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Makes what every cluster starts with: the four system namespaces, the default roles and bindings. Runs beside the server, tries again until the
/// control plane takes writes, and may run on any number of servers at once: it creates what is missing and repairs only what
/// asks for it by annotation (wire contract, section 20).
/// </summary>
internal sealed partial class Bootstrapper(
    IGrainFactory grains, IResourceCaches caches, ResourceRegistry registry, ApiServerOptions options, ClusterPki pki, IServer server,
    IHostApplicationLifetime lifetime, TimeProvider time, Random random, ILogger<Bootstrapper> logger) : BackgroundService
{
    private static readonly string[] Namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"];
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(5);

    private readonly ObjectWriter _writer = new(
        grains, time, new UserInfo("system:apiserver", [UserInfo.MastersGroup, Authentication.AuthenticatedGroup]));

    private volatile bool _done;

    /// <summary>Ready once everything exists.</summary>
    public HealthCheck HealthCheck => HealthCheck.Of("bootstrap", HealthImpact.Readiness, () =>
        _done || !options.Bootstrap ? null : "default namespaces and roles are not there yet");

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await StartedAsync(stoppingToken);
        if (options.WriteKubeconfig)
            WriteKubeconfig();
        if (!options.Bootstrap)
            return;
        var delay = FirstDelay;
        while (true)
        {
            try
            {
                await RunAsync(stoppingToken);
                _done = true;
                Log.Done(logger);
                return;
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                Log.TryingAgain(logger, delay, error);
            }
            await Task.Delay(delay * (0.5 + random.NextDouble()), time, stoppingToken);
            delay = delay * 2 < MaxDelay ? delay * 2 : MaxDelay;
        }
    }

    private async Task StartedAsync(CancellationToken stoppingToken)
    {
        // The addresses are known, and a silo in this process runs, once the host says so.
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lifetime.ApplicationStarted.UnsafeRegister(static state => ((TaskCompletionSource)state!).TrySetResult(), started);
        await started.Task.WaitAsync(stoppingToken);
    }

    private void WriteKubeconfig()
    {
        var url = options.PublicUrl;
        if (url is null)
        {
            var address = server.Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault();
            if (address is null)
                return;
            url = new Uri(address.Replace("//0.0.0.0", "//127.0.0.1", StringComparison.Ordinal).Replace("//[::]", "//127.0.0.1", StringComparison.Ordinal));
        }
        KubeconfigWriter.Write(options.KubeconfigFile, url, pki.AuthorityPem, pki.AdminCertificate());
        Log.KubeconfigWritten(logger, options.KubeconfigFile, url);
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        var wanted = new List<(ResourceDefinition Definition, JsonObject Object)>();
        if (registry.Find("namespaces") is { } namespaces)
        {
            foreach (var name in Namespaces)
                wanted.Add((namespaces, new JsonObject { ["kind"] = "Namespace", ["apiVersion"] = "v1", ["metadata"] = new JsonObject { ["name"] = name } }));
        }
        if (registry.Find("clusterroles." + RbacAuthorizer.Group) is { } roles)
            wanted.AddRange(DefaultRoles.ClusterRoles().Select(r => (roles, r)));
        if (registry.Find("clusterrolebindings." + RbacAuthorizer.Group) is { } bindings)
            wanted.AddRange(DefaultRoles.ClusterRoleBindings().Select(b => (bindings, b)));

        // Together, so that the store's group commit makes few physical writes of them.
        await Parallel.ForEachAsync(
            wanted, new ParallelOptions { MaxDegreeOfParallelism = 64, CancellationToken = cancellationToken },
            async (item, token) => await EnsureAsync(item.Definition, item.Object, token));
    }

    private async ValueTask EnsureAsync(ResourceDefinition definition, JsonObject wanted, CancellationToken cancellationToken)
    {
        var name = (string)wanted["metadata"]!["name"]!;
        var state = await caches.Get(definition.Resource).GetLatestAsync(cancellationToken);
        if (state.Find("", name) is { } found)
        {
            await RepairAsync(definition, CanonicalJson.Parse(found.Bytes.Span), wanted, cancellationToken);
            return;
        }
        try
        {
            await _writer.CreateAsync(definition, (JsonObject)wanted.DeepClone(), cancellationToken);
        }
        catch (StatusException error) when (error.Status.Reason == "AlreadyExists")
        {
            // Another server was faster.
        }
    }

    /// <summary>Adds rules and subjects that the stored object lacks; never takes anything away, and leaves alone whoever opted out.</summary>
    private async ValueTask RepairAsync(ResourceDefinition definition, JsonObject stored, JsonObject wanted, CancellationToken cancellationToken)
    {
        if ((string?)stored["metadata"]?["annotations"]?[DefaultRoles.AutoUpdateAnnotation] != "true")
            return;
        var changed = false;
        var rules = PolicyRule.ReadAll(stored["rules"]);
        foreach (var rule in PolicyRule.ReadAll(wanted["rules"]))
        {
            if (rule.Split().All(one => rules.Any(r => r.Covers(one))))
                continue;
            Members(stored, "rules").Add((JsonNode)rule.ToJson());
            changed = true;
        }
        foreach (var subject in wanted["subjects"] as JsonArray ?? [])
        {
            if (Members(stored, "subjects", create: false)?.Any(s => JsonNode.DeepEquals(s, subject)) == true)
                continue;
            Members(stored, "subjects").Add(subject!.DeepClone());
            changed = true;
        }
        if (changed)
            await _writer.UpdateAsync(definition.Key("", (string)wanted["metadata"]!["name"]!), stored, "", cancellationToken);
    }

    private static JsonArray Members(JsonObject obj, string name) => Members(obj, name, create: true)!;

    private static JsonArray? Members(JsonObject obj, string name, bool create)
    {
        if (obj[name] is JsonArray array)
            return array;
        if (!create)
            return null;
        var made = new JsonArray();
        obj[name] = made;
        return made;
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Kubeconfig written to {File} for {Url}")]
        public static partial void KubeconfigWritten(ILogger logger, string file, Uri url);

        [LoggerMessage(LogLevel.Debug, "Default namespaces and roles are in place")]
        public static partial void Done(ILogger logger);

        [LoggerMessage(LogLevel.Debug, "Default namespaces and roles could not be made yet; next try in about {Delay}")]
        public static partial void TryingAgain(ILogger logger, TimeSpan delay, Exception error);
    }
}
