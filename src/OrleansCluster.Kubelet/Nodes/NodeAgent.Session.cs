using System.Globalization;
using System.Net;
using System.Text.Json;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.Reporting;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>The node's session with its grain: register, connect, send heartbeats; when anything fails, from the start, for ever.</summary>
internal sealed partial class NodeAgent
{
    private const string SubnetFile = "pod-cidr";

    // The session whose observer may speak; calls of older ones are dropped.
    private volatile string _sessionId = "";
    private bool _toldStarting;

    private async Task RunSessionsAsync(CancellationToken cancellationToken)
    {
        var delay = FirstRetry;
        while (true)
        {
            string why;
            try
            {
                why = await RunSessionAsync(() => delay = FirstRetry, cancellationToken);
            }
            catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
            {
                why = exception.Message;
            }
            cancellationToken.ThrowIfCancellationRequested();
            var wait = _services.Jitter(delay);
            Log.Disconnected(_logger, Name, why, wait.TotalSeconds);
            await Task.Delay(wait, _services.Time, cancellationToken);
            delay = delay * 2 > MaxRetry ? MaxRetry : delay * 2;
        }
    }

    /// <summary>Returns why the session ended.</summary>
    private async Task<string> RunSessionAsync(Action connected, CancellationToken cancellationToken)
    {
        await RegisterAsync(cancellationToken);
        await WriteNodeStatusAsync(force: true, cancellationToken);
        var sessionId = NodeRequests.NewUid(_services.Random).ToString();
        _sessionId = sessionId;
        var observer = new Observer(this, sessionId);
        var connection = await _services.ControlPlane.ConnectAsync(Name, sessionId, observer, cancellationToken);
        try
        {
            IsConnected = true;
            Log.Connected(_logger, Name, connection.HeartbeatInterval.TotalSeconds);
            connected();
            while (true)
            {
                await observer.Ended.WaitAsync(connection.HeartbeatInterval, _services.Time, cancellationToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                cancellationToken.ThrowIfCancellationRequested();
                if (observer.Ended.IsCompleted)
                    return "the node's grain moves to another silo";
                var reply = await _services.ControlPlane.HeartbeatAsync(Name, sessionId, cancellationToken);
                if (!reply.Known)
                    return "the session is not known any more";
                if (reply.StatusWanted)
                    await WriteStatusAgainAsync(cancellationToken);
            }
        }
        finally
        {
            IsConnected = false;
            connection.Observer.Dispose();
            if (cancellationToken.IsCancellationRequested)
                await SayGoodbyeAsync(sessionId);
        }
    }

    /// <summary>Politeness only: bounded far below the time a stop may take.</summary>
    private async Task SayGoodbyeAsync(string sessionId)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(500), _services.Time);
        try
        {
            await _services.ControlPlane.DisconnectAsync(Name, sessionId, limit.Token);
        }
        catch (Exception exception)
        {
            Log.StatusNotWritten(_logger, Name, exception.Message);
        }
    }

    /// <summary>Creates the Node or brings its labels up to date.</summary>
    private async Task RegisterAsync(CancellationToken cancellationToken)
    {
        var facts = Facts();
        var key = new ObjectKey("nodes", "", Name);
        var reply = await _services.ControlPlane.ExecuteAsync(
            key, NodeRequests.Create(Name, NodeObject.New(facts), NodeRequests.NewUid(_services.Random)), cancellationToken);
        if (!_toldStarting)
        {
            RecordNodeEvent("Starting", "Starting kubelet.");
            _toldStarting = true;
        }
        if (reply.IsSuccess)
            return;
        if (reply.Code != 409)
            throw new StatusException(reply.GetError()!);
        var labels = new System.Text.Json.Nodes.JsonObject
        {
            ["metadata"] = new System.Text.Json.Nodes.JsonObject { ["labels"] = NodeObject.Labels(facts) },
        };
        var patched = await _services.ControlPlane.ExecuteAsync(key, NodeRequests.Patch(Name, labels), cancellationToken);
        if (!patched.IsSuccess)
            throw new StatusException(patched.GetError()!);
    }

    private void RecordNodeEvent(string reason, string message)
    {
        // Thousands of hollow nodes would drown what anybody wants to read.
        if (!_settings.Hollow)
            _services.Events.Record(Name, new EventSubject("Node", "", Name, Name), warning: false, reason, message);
    }

    // ---- the pod subnet

    private IPNetwork? RememberedSubnet()
    {
        if (_settings.DataDirectory is not { } directory)
            return null;
        try
        {
            return IPNetwork.TryParse(File.ReadAllText(Path.Combine(directory, SubnetFile)).Trim(), out var subnet) ? subnet : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private void RememberSubnet(IPNetwork subnet)
    {
        if (_settings.DataDirectory is not { } directory)
            return;
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, SubnetFile), subnet.ToString());
    }

    /// <summary>Registers the node and waits until the control plane has given it a subnet.</summary>
    private Task<IPNetwork> AskForSubnetAsync(CancellationToken cancellationToken) => RetryAsync("learn the pod subnet", async token =>
    {
        var key = new ObjectKey("nodes", "", Name);
        if (await _services.ControlPlane.GetAsync(key, token) is not { } node)
        {
            var facts = Facts() with { Runtime = new Runtime.RuntimeVersion("", "", "", "", DefaultArchitecture, 0, 0) };
            var reply = await _services.ControlPlane.ExecuteAsync(
                key, NodeRequests.Create(Name, NodeObject.New(facts), NodeRequests.NewUid(_services.Random)), token);
            node = reply.Object ?? throw new StatusException(reply.GetError() ?? StatusError.InternalError("no node in the answer"));
        }
        using var document = JsonDocument.Parse(node);
        return document.RootElement.TryGetProperty("spec", out var spec) && spec.TryGetProperty("podCIDR", out var cidr)
            && IPNetwork.TryParse(cidr.GetString(), out var subnet)
            ? subnet
            : throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"node {Name} has no spec.podCIDR yet"));
    }, cancellationToken);

    private static string DefaultArchitecture => System.Runtime.InteropServices.RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
        _ => "amd64",
    };

    private sealed class Observer(NodeAgent agent, string sessionId) : INodeObserver
    {
        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Ended => _ended.Task;

        public Task SessionEndedAsync(string node, string ended)
        {
            if (node == agent.Name && ended == sessionId)
                _ended.TrySetResult();
            return Task.CompletedTask;
        }

        public Task SyncPodsAsync(PodSync sync)
        {
            if (sync.Node == agent.Name && agent._sessionId == sessionId)
                agent.SyncPods(sync);
            return Task.CompletedTask;
        }
    }
}
