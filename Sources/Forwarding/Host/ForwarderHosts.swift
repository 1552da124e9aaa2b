internal import CLinux
internal import Sys
internal import Wire

/// Where a question's connection is.
enum HostPlace {
    case asker(slot: Int, generation: UInt32)
    case relay(slot: Int, generation: UInt32)
}

// Gates: connections that go on once the host they ask for is allowed.
//
//     endpoint ──> gate ── reads ClientHello or request ── mayReach ──> manager
//                   └────── splice ──> socket from the manager <── host ──┘

extension Forwarder {
    /// Lets a connection say what it wants.
    func ask(_ port: Publication, _ client: consuming Descriptor, _ peer: Place?) {
        var original = cl_place()
        guard let peer, askersOf[peer.address, default: 0] < limits.askers,
            guestsOf[peer.address, default: 0] < limits.guests,
            unsafe cl_original_place(client.rawValue, &original) == 0, let destination = Place(original)
        else {
            port.counters.failed += 1
            _ = cl_reset_on_close(client.rawValue)
            return
        }
        let (slot, generation) = askers.reserve()
        let number = client.rawValue
        let asker = HostAsker(
            port, slot: slot, generation: generation, socket: client, client: peer,
            destination: destination, until: now + limits.asking)
        do throws(SystemError) {
            try poller.add(number, [.readable, .peerClosed, .edge], token: asker.token)
        } catch {
            askers.remove(slot)
            port.counters.failed += 1
            return
        }
        askers.put(asker, at: slot)
        askersOf[peer.address, default: 0] += 1
        guestsOf[peer.address, default: 0] += 1
        asking.append((slot, generation))
        port.counters.active += 1
    }

    func listen(to asker: HostAsker) {
        // What comes after the request waits in the kernel.
        guard asker.request == nil else { return }
        let isOpen = asker.read()
        do throws(HostRefusal) {
            if let request = try HostReader.read(asker.bytes) { return put(request, of: asker) }
            if asker.pieces > HostAsker.mostPieces { throw .tooLong }
        } catch { return refuse(asker, error) }
        if !isOpen { refuse(asker, asker.bytes.isEmpty ? nil : .noHost) }
    }

    private func put(_ request: HostRequest, of asker: HostAsker) {
        asker.request = request
        repeat { lastQuestion &+= 1 } while questions[lastQuestion] != nil
        let question = HostClaim(
            id: lastQuestion, client: asker.client.address, destination: asker.destination.address,
            port: asker.destination.port, host: request.host, isUnderWay: false)
        asker.question = question
        questions[question.id] = .asker(slot: asker.slot, generation: asker.generation)
        unasked.append(question.id)
    }

    /// Whether gates may let in somebody who asks.
    var mayAsk: Bool { unasked.count + over.count + outbox.count < 1024 }

    /// Tells what waits, as far as there is room.
    func sendHosts() throws(SystemError) {
        var sent = 0
        defer { unasked.removeFirst(sent) }
        while sent < unasked.count {
            if let claim = claim(unasked[sent]) { try link.send(.mayReach(claim)) }
            sent += 1
        }
        while !over.isEmpty {
            let part = Array(over.prefix(ForwardReport.portsInOne))
            try link.send(.hostsEnded(part))
            over.removeFirst(part.count)
        }
    }

    /// What a connection asks for that is still there.
    private func claim(_ id: UInt32) -> HostClaim? {
        switch questions[id] {
        case .asker(let slot, let generation): return askers[slot, generation]?.question
        case .relay(let slot, let generation):
            var claim = relays[slot, generation]?.question
            claim?.isUnderWay = true
            return claim
        case nil: return nil
        }
    }

    /// Of the next manager, for all that there are.
    func askAgain() { unasked = Array(questions.keys) }

    func decide(_ id: UInt32, _ isAllowed: Bool, _ socket: consuming Descriptor?) {
        switch questions[id] {
        case .asker(let slot, let generation):
            guard let asker = askers[slot, generation] else { return }
            guard isAllowed, let socket = consume socket else { return refuse(asker, .notAllowed) }
            goOn(asker, socket)
        case .relay(let slot, let generation):
            guard !isAllowed, let relay = relays[slot, generation] else { return }
            end(relay, isBroken: true)
        case nil: over.append(id)
        }
    }

    private func goOn(_ asker: HostAsker, _ socket: consuming Descriptor) {
        guard let request = asker.request, let question = asker.question else { return }
        var place = asker.destination.kernel
        let family = Int32(asker.destination.address.family.rawValue)
        let number = socket.rawValue
        guard cl_set_nonblocking(number) == 0, cl_stream_options(number) == 0,
            unsafe cl_connect_place(number, family, &place) == 0 || Errno.current == .inProgress,
            let client = release(asker)
        else {
            asker.port.counters.failed += 1
            if askers[asker.slot, asker.generation] != nil { dismiss(asker) }
            return
        }
        let relay = begin(asker.port, client, socket, question: question, prefix: request.bytes)
        guard let relay else {
            leave(asker.client.address)
            return forget(question)
        }
        questions[question.id] = .relay(slot: relay.slot, generation: relay.generation)
    }

    /// - Parameter refusal: nil where nothing was asked.
    private func refuse(_ asker: HostAsker, _ refusal: HostRefusal?) {
        asker.port.counters.failed += 1
        if let refusal {
            asker.refuse(refusal)
            // What the manager refused it has told of itself; and where it does not listen they are too many to tell.
            if refusal != .notAllowed, mayAsk {
                report(
                    .hostRefused(
                        client: asker.client.address, destination: asker.destination.address,
                        port: asker.destination.port, refusal))
            }
        }
        let question = asker.question
        _ = release(asker)
        leave(asker.client.address)
        if let question { forget(question) }
    }

    /// Ends it without a word.
    func dismiss(_ asker: HostAsker) {
        let question = asker.question
        if let socket = release(asker) { _ = cl_reset_on_close(socket.rawValue) }
        leave(asker.client.address)
        if let question { forget(question) }
    }

    /// Is not an asker any more.
    private func release(_ asker: HostAsker) -> Descriptor? {
        let count = askersOf[asker.client.address, default: 1] - 1
        askersOf[asker.client.address] = count > 0 ? count : nil
        askers.remove(asker.slot)
        asker.port.counters.active -= 1
        poller.remove(asker.number)
        return asker.takeSocket()
    }

    func forget(_ question: HostClaim) {
        questions[question.id] = nil
        over.append(question.id)
    }

    /// A connection of this endpoint's has ended.
    func leave(_ client: IPAddress) {
        let count = guestsOf[client, default: 1] - 1
        guestsOf[client] = count > 0 ? count : nil
    }

    /// Ends those whose time is up.
    func expireAskers() {
        var passed = 0
        for (slot, generation) in asking {
            if let asker = askers[slot, generation] {
                guard asker.until <= now else { break }
                refuse(asker, asker.question == nil ? .tooLong : .undecided)
            }
            passed += 1
        }
        if passed > 0 { asking.removeFirst(passed) }
    }
}
